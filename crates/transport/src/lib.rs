//! Framed packet streams: node links (TCP) and client links (unix socket) on the runtime.
