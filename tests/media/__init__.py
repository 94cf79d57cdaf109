"""Media as it comes: cut short by the machine, cut off, late, with gaps, joined, in every container."""
