//! State that packets look up: Maglev tables, connections, neighbours, and the snapshot all workers
//! share. Everything here is pure: time is passed in, nothing reads a clock or a file.
