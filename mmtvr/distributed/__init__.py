"""Several processes: gathering with exact gradients, launch, failures."""
