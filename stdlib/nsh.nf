# Adds an 8-byte NSH carrier TLV.

use tlvs

endpoint nsh {
    otherwise {
        add NSH { value = 0x0102030405 }
        forward
    }
}
