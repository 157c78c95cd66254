"""What a text says where an answer is looked for: a number, or what stands in its place."""
