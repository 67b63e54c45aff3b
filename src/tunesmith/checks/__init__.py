"""The data doctor: what is wrong with the rows, the tokenizer or the template, before anything is trained."""
