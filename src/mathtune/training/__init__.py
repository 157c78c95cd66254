"""Training: models, batches, loss, trainer. Importing a module of this room imports torch."""

import logging

# On CPU it reports at every import that an optional kernel is not installed; 4-bit works without.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
