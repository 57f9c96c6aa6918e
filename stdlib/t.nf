# End.T (RFC 8986, section 4.3): the next segment is looked up in a table of its own.

endpoint t {
    otherwise forward to table 100
}
