"""The GGUF format: what llama.cpp assumes of a model and its tokenizer, and the file itself."""
