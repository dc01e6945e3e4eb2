"""One recording of a CUDA graph at a time in a process, whoever makes it: several runs share a device."""

import threading

LOCK = threading.Lock()
