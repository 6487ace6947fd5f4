"""What a wheel with artifacts needs beyond what setuptools writes."""
