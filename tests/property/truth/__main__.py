"""`python -m tests.property.truth`: see campaign.py."""

import sys

from tests.property.truth.campaign import main

sys.exit(main())
