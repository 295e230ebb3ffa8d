// What the enclave is asked: where its memory begins, to accept so many pages of it, to use them.
enum { WHERE, ACCEPT, HOT };
