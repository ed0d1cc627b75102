"""What is known of programming languages: how each is written, as data, and a scan of unfinished code that reads it.

It must not know documents, the engine or the wire.
"""
