"""Device code alone: a launcher of the driver API takes it from here."""
