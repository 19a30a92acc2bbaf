package cli

import (
	"crypto/sha1" // #nosec G505 -- the format is defined by it; it tells damage, and proves nothing
	"encoding/binary"
	"strconv"
	"unicode/utf16"
)

// javaPassword opens the trust store. It is Java's own for its stores of public certificates,
// which are no secret.
const javaPassword = "changeit"

// javaStore writes certificates in DER as a trust store in Java's format JKS, the one that every
// Java reads; others have no PEM, and PKCS #12 only with a library. As OpenJDK's
// sun.security.provider.JavaKeyStore has it, numbers big-endian, texts behind a length of two bytes:
//
//	FEEDFEED  version 2  count
//	2  alias  milliseconds since 1970 (8 bytes)  "X.509"  length of the DER  DER      for each
//	SHA-1 over the password in UTF-16, "Mighty Aphrodite", and all of the above
func javaStore(certificates [][]byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, 0xfeedfeed)
	out = binary.BigEndian.AppendUint32(out, 2)
	out = binary.BigEndian.AppendUint32(out, uint32(len(certificates)))
	for i, der := range certificates {
		out = binary.BigEndian.AppendUint32(out, 2) // a certificate to trust; 1 is a key
		out = appendJavaText(out, strconv.Itoa(i+1))
		out = binary.BigEndian.AppendUint64(out, 0)
		out = appendJavaText(out, "X.509")
		out = binary.BigEndian.AppendUint32(out, uint32(len(der)))
		out = append(out, der...)
	}
	var salt []byte
	for _, unit := range utf16.Encode([]rune(javaPassword)) {
		salt = binary.BigEndian.AppendUint16(salt, unit)
	}
	salt = append(salt, "Mighty Aphrodite"...)
	sum := sha1.Sum(append(salt, out...)) // #nosec G401 -- see the import
	return append(out, sum[:]...)
}

// appendJavaText appends ASCII, which Java's modified UTF-8 writes like everybody.
func appendJavaText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}
