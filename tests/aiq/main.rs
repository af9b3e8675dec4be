//! What crosses processes: real binaries, real sockets.
