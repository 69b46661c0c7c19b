"""The torch operator: sorts tensors on their device, by the kernel that a table names."""
