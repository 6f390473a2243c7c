"""The Shoal client: numpy in and out over the Open Inference Protocol."""
