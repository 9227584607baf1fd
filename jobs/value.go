package jobs

import (
	"database/sql/driver"
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// textOf returns a column's value as PostgreSQL's text. nil is NULL. It takes fewer types
// than pgx does: of a slice or a map, only the column's type says what text it is.
func textOf(v any) (*string, error) {
	if r := reflect.ValueOf(v); !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil() {
		return nil, nil
	}
	switch v := v.(type) {
	case time.Time:
		return new(v.Format(time.RFC3339Nano)), nil
	case driver.Valuer:
		plain, err := v.Value()
		if err != nil {
			return nil, err
		}
		if _, again := plain.(driver.Valuer); again {
			return nil, fmt.Errorf("the Value of a %T is a driver.Valuer again", v)
		}
		return textOf(plain)
	case encoding.TextMarshaler:
		plain, err := v.MarshalText()
		return new(string(plain)), err
	}
	return textOfKind(reflect.ValueOf(v))
}

// textOfKind is textOf for a value whose type has no methods for it.
func textOfKind(r reflect.Value) (*string, error) {
	switch r.Kind() {
	case reflect.Pointer:
		return textOf(r.Elem().Interface())
	case reflect.String:
		return new(r.String()), nil
	case reflect.Bool:
		return new(strconv.FormatBool(r.Bool())), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return new(strconv.FormatInt(r.Int(), 10)), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return new(strconv.FormatUint(r.Uint(), 10)), nil
	case reflect.Float32:
		return new(strconv.FormatFloat(r.Float(), 'g', -1, 32)), nil
	case reflect.Float64:
		return new(strconv.FormatFloat(r.Float(), 'g', -1, 64)), nil
	default:
		return nil, fmt.Errorf("a %v can't be kept; use the text that PostgreSQL has for it", r.Type())
	}
}
