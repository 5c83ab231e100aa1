"""`python -m zeotap_pipelines.sandbox`: the sandbox as a process of its own."""

import sys

from zeotap_pipelines.sandbox.server import main

sys.exit(main())
