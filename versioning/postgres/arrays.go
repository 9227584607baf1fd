package postgres

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5/pgtype"
)

// Statements take their parameters as columns: arrays. pgx puts each element of a slice
// into an interface, which allocates. These types return pointers to the elements
// instead. If pgx does not know a parameter's type, it uses what Value returns.

// texts is a column of text.
type texts []string

// bigints is a column of bigint.
type bigints []int64

// integers is a column of integer.
type integers []int32

// nullTexts is a column of text that may have NULLs.
type nullTexts []pgtype.Text

type (
	textElement    string
	bigintElement  int64
	integerElement int32
)

// TextValue implements [pgtype.TextValuer].
func (e *textElement) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: string(*e), Valid: true}, nil
}

// Int64Value implements [pgtype.Int64Valuer].
func (e *bigintElement) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: int64(*e), Valid: true}, nil
}

// Int64Value implements [pgtype.Int64Valuer].
func (e *integerElement) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: int64(*e), Valid: true}, nil
}

// The methods of [pgtype.ArrayGetter] and [driver.Valuer].

func (a texts) Dimensions() []pgtype.ArrayDimension { return oneDimension(len(a)) }

func (a bigints) Dimensions() []pgtype.ArrayDimension { return oneDimension(len(a)) }

func (a integers) Dimensions() []pgtype.ArrayDimension { return oneDimension(len(a)) }

func (a nullTexts) Dimensions() []pgtype.ArrayDimension { return oneDimension(len(a)) }

func oneDimension(n int) []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(n), LowerBound: 1}}
}

func (a texts) Index(i int) any { return (*textElement)(&a[i]) }

func (a bigints) Index(i int) any { return (*bigintElement)(&a[i]) }

func (a integers) Index(i int) any { return (*integerElement)(&a[i]) }

func (a nullTexts) Index(i int) any { return &a[i] }

func (a texts) IndexType() any { return (*textElement)(nil) }

func (a bigints) IndexType() any { return (*bigintElement)(nil) }

func (a integers) IndexType() any { return (*integerElement)(nil) }

func (a nullTexts) IndexType() any { return (*pgtype.Text)(nil) }

func (a texts) Value() (driver.Value, error) { return []string(a), nil }

func (a bigints) Value() (driver.Value, error) { return []int64(a), nil }

func (a integers) Value() (driver.Value, error) { return []int32(a), nil }

func (a nullTexts) Value() (driver.Value, error) { return []pgtype.Text(a), nil }
