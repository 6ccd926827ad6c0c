"""The local run: plans steps over partitions and launches each as a process of its own."""
