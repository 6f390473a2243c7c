"""The wire: moves bytes and knows no protobuf."""
