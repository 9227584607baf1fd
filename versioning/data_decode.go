package versioning

import (
	"errors"
	"reflect"
)

func decodeStruct(fields []dataField) func(*dataParser, reflect.Value) error {
	byName := make(map[string]*dataField, len(fields))
	for i := range fields {
		byName[fields[i].name] = &fields[i]
	}
	return func(p *dataParser, v reflect.Value) error {
		if p.next() != '{' {
			return p.want("an object")
		}
		p.pos++
		v.SetZero()
		for p.more('}') {
			name, err := p.label()
			if err != nil {
				return err
			}
			f := byName[string(name)]
			if f == nil {
				return inData("."+string(name), errors.New("unknown field"))
			}
			if err := f.codec.decode(p, v.Field(f.index)); err != nil {
				return inData(f.path, err)
			}
		}
		return nil
	}
}

func decodeSlice(elem *dataCodec) func(*dataParser, reflect.Value) error {
	return func(p *dataParser, v reflect.Value) error {
		if p.null() {
			v.SetZero()
			return nil
		}
		if err := p.enter(); err != nil {
			return err
		}
		defer p.leave()
		if err := p.array(); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		for i := 0; p.more(']'); i++ {
			v.Grow(1)
			v.SetLen(i + 1)
			if err := elem.decode(p, v.Index(i)); err != nil {
				return inData(atIndex(i), err)
			}
		}
		return nil
	}
}

func decodeArray(elem *dataCodec) func(*dataParser, reflect.Value) error {
	return func(p *dataParser, v reflect.Value) error {
		if err := p.array(); err != nil {
			return err
		}
		for i := range v.Len() {
			if err := p.element(); err != nil {
				return err
			}
			if err := elem.decode(p, v.Index(i)); err != nil {
				return inData(atIndex(i), err)
			}
		}
		return p.end()
	}
}

func decodePointer(elemType reflect.Type, elem *dataCodec, wrap bool) func(*dataParser, reflect.Value) error {
	return func(p *dataParser, v reflect.Value) error {
		if p.null() {
			v.SetZero()
			return nil
		}
		if err := p.enter(); err != nil {
			return err
		}
		defer p.leave()
		target := reflect.New(elemType)
		v.Set(target)
		if !wrap {
			return elem.decode(p, target.Elem())
		}
		if err := p.array(); err != nil {
			return err
		}
		if err := p.element(); err != nil {
			return err
		}
		if err := elem.decode(p, target.Elem()); err != nil {
			return err
		}
		return p.end()
	}
}

func decodeMap(t reflect.Type, key, elem *dataCodec) func(*dataParser, reflect.Value) error {
	return func(p *dataParser, v reflect.Value) error {
		if p.null() {
			v.SetZero()
			return nil
		}
		if err := p.enter(); err != nil {
			return err
		}
		defer p.leave()
		if err := p.array(); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(t))
		for i := 0; p.more(']'); i++ {
			if err := decodePair(p, v, key, elem); err != nil {
				return inData(atIndex(i), err)
			}
			if v.Len() != i+1 {
				return inData(atIndex(i), errors.New("the key occurs twice"))
			}
		}
		return nil
	}
}

// decodePair decodes a key and a value of a map.
func decodePair(p *dataParser, m reflect.Value, key, elem *dataCodec) error {
	if err := p.array(); err != nil {
		return err
	}
	if err := p.element(); err != nil {
		return err
	}
	k, e := reflect.New(m.Type().Key()).Elem(), reflect.New(m.Type().Elem()).Elem()
	if err := key.decode(p, k); err != nil {
		return inData(".key", err)
	}
	if err := p.element(); err != nil {
		return err
	}
	if err := elem.decode(p, e); err != nil {
		return inData(".value", err)
	}
	m.SetMapIndex(k, e)
	return p.end()
}
