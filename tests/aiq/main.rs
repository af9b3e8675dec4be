//! What crosses processes: real binaries, real sockets, real signals. And the rules of the house.

mod house;
