//! Pure decisions of the cluster: flags, elections, ban credits, whether a recovery is needed and why, vnnmap.
