"""`tabcast bench`: quality, speed and losslessness, measured side by side. Nothing of the engine imports it."""

import os

# As in the engine, and before torch is imported: threads that spin while they wait cost tenfold on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
