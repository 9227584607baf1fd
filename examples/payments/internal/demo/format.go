package demo

import "strconv"

// places returns the decimal places of a currency.
func places(currency string) int {
	if currency == "JPY" {
		return 0
	}
	return 2
}

// amount formats an amount in the smallest unit: 123,456.78.
func amount(currency string, n int64) string { return decimal(n, places(currency)) }

// fees formats fees, which have four more places.
func fees(currency string, n int64) string { return decimal(n, places(currency)+4) }

func decimal(n int64, places int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	digits := strconv.FormatInt(n, 10)
	for len(digits) <= places {
		digits = "0" + digits
	}
	whole, rest := digits[:len(digits)-places], digits[len(digits)-places:]
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if places > 0 {
		whole += "." + rest
	}
	return sign + whole
}

// thousands formats a number with thousands separators: 12,345.
func thousands(n int) string { return decimal(int64(n), 0) }
