"""What is said: messages, their binary frame, tensors and digests. Pure: values in, values out."""
