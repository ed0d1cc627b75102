"""`tabcast bench`: quality, speed and losslessness, measured side by side. Nothing of the engine imports it."""
