package model

import (
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"
)

// A Row is the columns that programs compute. An action may change everything that it
// points to.
type Row struct {
	Balance int64            `db:"balance"`
	Credit  *int64           `db:"credit"`
	Notes   []string         `db:"notes"`
	Price   pgtype.Numeric   `db:"price"`
	Doc     map[string]int64 `db:"doc"`
}

// Columns is all columns of a row but its key, state and version.
type Columns struct {
	Row

	Memo string // messages set it
	Seen int64  // only other writers set it
}

// Data is what an event says to programs.
type Data struct {
	Amount int64
	After  int64 // an action may wait until the balance is that
	Notes  []string
	Tags   map[string]int64
}

func (r Row) clone() Row {
	if r.Credit != nil {
		r.Credit = new(*r.Credit)
	}
	if r.Price.Int != nil {
		r.Price.Int = new(big.Int).Set(r.Price.Int)
	}
	r.Notes, r.Doc = slices.Clone(r.Notes), maps.Clone(r.Doc)
	return r
}

// Clone returns a copy that shares no memory with d.
func (d Data) Clone() Data {
	d.Notes, d.Tags = slices.Clone(d.Notes), maps.Clone(d.Tags)
	return d
}

// String tells different columns apart.
func (c Columns) String() string {
	credit := "NULL"
	if c.Credit != nil {
		credit = fmt.Sprint(*c.Credit)
	}
	return fmt.Sprintf("balance %d credit %s notes %#v price %v doc %v (nil: %t) memo %q seen %d",
		c.Balance, credit, c.Notes, thousandths(c.Price), c.Doc, c.Doc == nil, c.Memo, c.Seen)
}

// thousandths returns a price times 1000, or nil if it is NULL.
func thousandths(price pgtype.Numeric) *big.Int {
	if !price.Valid {
		return nil
	}
	exp := func(n int32) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }
	if price.Exp < -3 {
		return new(big.Int).Quo(price.Int, exp(-3-price.Exp))
	}
	return new(big.Int).Mul(price.Int, exp(price.Exp+3))
}

// Round rounds the price to two digits after the point, half away from zero, as
// numeric(_, 2) does.
func Round(r *Row) {
	n := thousandths(r.Price)
	if n == nil {
		return
	}
	half := big.NewInt(int64(5 * n.Sign()))
	r.Price = pgtype.Numeric{Int: n.Quo(n.Add(n, half), big.NewInt(10)), Exp: -2, Valid: true}
}

// A Write is a change of a row by somebody else, who does not raise its version.
type Write struct {
	Key    string
	Column string // "nothing" writes the row as it is
	N      int64
}

// WriteColumns are the columns that a [Write] may have.
var WriteColumns = []string{"seen", "memo", "balance", "credit", "notes", "nothing"}

// Apply returns the columns after the write.
func (w Write) Apply(c Columns) Columns {
	c.Row = c.clone()
	switch w.Column {
	case "seen":
		c.Seen += w.N
	case "memo":
		c.Memo = fmt.Sprint("somebody's ", w.N)
	case "balance":
		c.Balance += w.N
	case "credit":
		if c.Credit = nil; w.N > 0 {
			c.Credit = new(w.N)
		}
	case "notes":
		c.Notes = append(c.Notes, fmt.Sprint("somebody's ", w.N))
	}
	return c
}

// Write lets somebody else write a row. If there is none, nothing happens.
func (m *Model) Write(w Write) {
	if len(m.History[w.Key]) > 0 {
		m.Rows[w.Key] = w.Apply(m.Rows[w.Key])
	}
}
