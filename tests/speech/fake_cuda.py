"""Tensors of a GPU that is not there."""

import pytest
import torch

IS_OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11)
has_fake_cuda = pytest.mark.skipif(IS_OLD, reason="torch 2.2 makes fake CUDA tensors on a GPU alone")
