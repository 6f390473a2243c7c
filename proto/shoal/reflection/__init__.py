"""Server reflection of gRPC (grpc.reflection.v1)."""
