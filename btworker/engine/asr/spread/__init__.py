"""A long recording spread over the processes of a machine: shares.py is the folder that they share, helping.py what one
does for another's recording."""
