"""SAEs in files that others wrote: one format one file. Each has `load(ref)`, a loader of the entry-point group `hedgebench.loaders`.

`layouts` tells formats apart by the names of files, `files` opens what is untrusted. Nothing here is unpickled.
"""
