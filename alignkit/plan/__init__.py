"""What a run will take, told before it starts: lengths, steps, parameters, memory and time; no weights are read."""
