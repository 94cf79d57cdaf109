"""What a step does between its products with the weights. plain.py does it by torch's operators, on every device.
On a GPU fused.py does it by Triton kernels, each in place of many of torch's; choosing.py says where, and why not.
"""
