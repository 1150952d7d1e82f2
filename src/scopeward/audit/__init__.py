"""Reading the audit lines that Envoy writes: the files, what was appended, how many calls ended how; and the disk that they fill."""
