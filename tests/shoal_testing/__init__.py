"""What tests share: virtual time, fakes, tiny models."""
