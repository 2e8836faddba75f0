"""Texts for customers: templates filled in, Markdown turned into WhatsApp's marks, long answers cut.

Pure, and linear in the length of what it is given: customers and language models write it.
"""
