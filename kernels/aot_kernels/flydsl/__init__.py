"""Sources in FlyDSL, for AMD's matrix cores. They need flydsl, which needs torch."""
