"""What authors write, read and validated: pipeline.yaml, kernels, notebooks, parameters."""
