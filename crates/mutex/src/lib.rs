//! The cluster lock: the helper protocol, its fcntl helper, and the client side used by ctdbd and recoverd.
