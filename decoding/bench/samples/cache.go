package cache

import (
	"errors"
	"sync"
	"time"
)

// ErrMissing tells that a key isn't there.
var ErrMissing = errors.New("missing")

type item struct {
	value   string
	expires time.Time
}

type Cache struct {
	mu    sync.Mutex
	items map[string]item
}

func New() *Cache {
	return &Cache{items: make(map[string]item)}
}

func (c *Cache) Get(key string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.items[key]
	if !ok || found.expires.Before(time.Now()) {
		return "", ErrMissing
	}
	return found.value, nil
}

func (c *Cache) Set(key, value string, lifetime time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items[key] = item{value: value, expires: time.Now().Add(lifetime)}
}

func (c *Cache) Sweep() int {
	count := 0
	for key, found := range c.items {
		switch {
		case found.expires.Before(time.Now()):
			delete(c.items, key)
			count++
		default:
			continue
		}
	}
	return count
}
