"""What a cluster's GPUs cost, who uses them, and what sharing would save. Pure: values in, values out."""
