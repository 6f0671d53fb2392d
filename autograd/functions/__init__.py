"""The same operations under PyTorch's names and arguments: `dim`, `keepdim`, `input`. One file for each part of mathematics."""
