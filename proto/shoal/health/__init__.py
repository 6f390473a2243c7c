"""The health checking protocol of gRPC (grpc.health.v1)."""
