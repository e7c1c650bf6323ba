"""python -m recoverd."""

import sys

from recoverd.cli.main import main

sys.exit(main())
