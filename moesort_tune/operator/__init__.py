"""The torch operator: sort tensors on their device, by the kernel that a table names."""
