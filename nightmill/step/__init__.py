"""The step: runs one attempt in a kernel, keeps its record and commits its outputs."""
