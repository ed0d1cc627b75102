package org.example.accounts;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Keeps accounts by their names. */
public final class Accounts {
    private final List<Account> accounts = new ArrayList<>();

    public Accounts add(String name, long cents) {
        if (name == null || name.isEmpty()) {
            throw new IllegalArgumentException("an account needs a name");
        }
        accounts.add(new Account(name, cents));
        return this;
    }

    public Optional<Account> find(String name) {
        return accounts.stream().filter(account -> account.name.equals(name)).findFirst();
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        for (Account account : accounts) {
            text.append(account.name).append(": ").append(account.cents / 100.0).append('\n');
        }
        return text.toString();
    }

    static class Account {
        final String name;
        long cents;

        Account(String name, long cents) {
            this.name = name;
            this.cents = cents;
        }
    }
}
